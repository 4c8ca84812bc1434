"""Tables and pictures made from results and from what a perturbation does to images and rankings."""
