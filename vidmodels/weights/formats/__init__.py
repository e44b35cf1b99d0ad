"""Weight files in and out: pth, npz and safetensors; no code in them runs."""
