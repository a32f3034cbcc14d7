"""What every process of ours needs: to end as it should, to write lines that never raise, to keep its state."""
