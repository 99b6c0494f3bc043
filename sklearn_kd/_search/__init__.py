from sklearn_kd._utils.saved_state import refuse_former_class as __getattr__  # noqa: F401
