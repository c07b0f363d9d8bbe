"""Recipes, objectives and the loop that trains every model of the zoo."""
