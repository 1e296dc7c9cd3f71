"""What a video is, and how LTX-2 renders one. Knows no Ray, no HTTP and no storage."""
