"""What is done to prompts before a text encoder reads them."""
