__all__ = ['ttypes', 'constants', 'Predictor']
