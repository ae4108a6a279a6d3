"""The search of hyper-parameters: its settings, its study, and the processes that train trials."""
