"""Recipes, one file a family; installed as vidmodels.recipes."""
