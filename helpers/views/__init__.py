"""Random views of images: geometry and light."""
