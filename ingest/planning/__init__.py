"""What a transfer would do, computed from listings alone: pure, no input or output."""
