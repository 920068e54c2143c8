"""One module per paper narrative: what one trial does and which trials a chapter needs."""
