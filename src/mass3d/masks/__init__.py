"""Class-agnostic regions of a scan: engines that propose them and the layers that hold them."""
