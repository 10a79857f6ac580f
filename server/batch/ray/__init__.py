"""Jobs on a Ray cluster. Imports run one way: methods < worker < executor < cluster."""
