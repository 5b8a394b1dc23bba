"""A source or embeddings → a gallery: embed, index, append, merge, import, export."""
