"""The Hugging Face hub: ids, what is cached of a repository, listings, downloads, and its faults as sentences."""
