"""What next, by item id? Popularity, item-to-item, transitions, and the neural sequence models."""
