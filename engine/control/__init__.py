"""ControlNets: units over the steps, their residuals, hints and preprocessors."""
