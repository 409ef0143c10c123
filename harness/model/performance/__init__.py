"""What the engine costs, measured beside plain loops and beside the least that the device could take."""
