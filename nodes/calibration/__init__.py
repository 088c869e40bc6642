"""Budgets for single transformer blocks, fitted to what sparsity costs in each of them."""
