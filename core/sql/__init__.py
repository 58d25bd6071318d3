"""User SQL, harmless to store and machine: `gate` checks it, `pool` runs it in `worker` processes."""
