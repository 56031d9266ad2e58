def nonlinear(parts):
    raise NotImplementedError
