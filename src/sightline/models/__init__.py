"""Networks: timm backbones, their weights, input normalisation, heads and freezing."""
