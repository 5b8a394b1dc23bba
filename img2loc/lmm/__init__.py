"""Large multimodal models: prompts → replies, one module a backend."""
