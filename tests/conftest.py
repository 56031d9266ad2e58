import jax
from hypothesis import HealthCheck, settings

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_default_matmul_precision", "highest")
settings.register_profile("cldyn", deadline=None, derandomize=True, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cldyn")
