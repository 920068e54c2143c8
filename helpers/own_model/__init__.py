"""One's own Cellpose 3 model: what fine-tuning made it forget, and fine-tuning with replay."""
