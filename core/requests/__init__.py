"""Jobs and unlearning requests: the rows, their states, and who may run them."""
