"""Take control of views that exist already."""
