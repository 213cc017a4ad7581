"""Networks of IFViT: backbones, transformers over two images, the embedding and its class centers."""
