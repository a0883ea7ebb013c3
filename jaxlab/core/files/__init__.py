"""Files that are whole or not there: `replaced` writes them, `npz` reads arrays."""
