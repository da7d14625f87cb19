"""The article's layers in NumPy float64, written from TensorFlow's definitions.

Images are (B, H, W, C), kernels in TensorFlow's layouts.
Each layer returns its output and a function that maps the gradient of its output to those of its inputs.
"""

import math

import numpy as np


def same_padding(size, kernel, stride):
    """TensorFlow's 'same': output ceil(size / stride); the odd pixel of padding goes to the end."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def conv(x, kernel, stride, padding):
    """conv2d with kernel (kh, kw, in, out)."""
    kh, kw, _, num_out = kernel.shape
    rows, cols = (same_padding(x.shape[i], kernel.shape[i - 1], stride) for i in (1, 2))
    if padding == "valid":
        rows = cols = (0, 0)
    padded = np.pad(x, ((0, 0), rows, cols, (0, 0)))
    height, width = ((padded.shape[i] - kernel.shape[i - 1]) // stride + 1 for i in (1, 2))
    out = np.zeros((x.shape[0], height, width, num_out))

    def window(image, a, b):
        return image[:, a : a + stride * height : stride, b : b + stride * width : stride][:, :height, :width]

    for a in range(kh):
        for b in range(kw):
            out += window(padded, a, b) @ kernel[a, b]

    def backward(grad):
        grad_padded, grad_kernel = np.zeros_like(padded), np.zeros_like(kernel)
        for a in range(kh):
            for b in range(kw):
                window(grad_padded, a, b)[...] += grad @ kernel[a, b].T
                grad_kernel[a, b] = np.einsum("bhwi,bhwo->io", window(padded, a, b), grad)
        inner = grad_padded[:, rows[0] : rows[0] + x.shape[1], cols[0] : cols[0] + x.shape[2]]
        return inner, grad_kernel

    return out, backward


def conv_transpose(x, kernel, stride, padding):
    """conv2d_transpose with kernel (kh, kw, out, in): by definition the gradient of conv by its input."""
    kh, kw, num_out, _ = kernel.shape
    height, width = x.shape[1] * stride, x.shape[2] * stride
    if padding == "valid":
        height, width = height + max(kh - stride, 0), width + max(kw - stride, 0)
    image = np.zeros((x.shape[0], height, width, num_out))
    _, scatter = conv(image, kernel, stride, padding)

    def backward(grad):
        grad_x, correlate = conv(grad, kernel, stride, padding)
        return grad_x, correlate(x)[1]

    return scatter(x)[0], backward


def leaky_relu(x, slope):
    factor = np.where(x > 0, 1.0, slope)
    return x * factor, lambda grad: grad * factor


def batch_norm(x, gamma, beta, epsilon=1e-3):
    """Batch statistics, biased variance, over all axes but the last; backward gives (x, gamma, beta)."""
    axes = tuple(range(x.ndim - 1))
    centered = x - x.mean(axes)
    inverse_std = 1 / np.sqrt((centered**2).mean(axes) + epsilon)
    normalized = centered * inverse_std

    def backward(grad):
        grad_beta, grad_gamma = grad.sum(axes), (grad * normalized).sum(axes)
        count = x.size // x.shape[-1]
        grad_x = gamma * inverse_std * (grad - grad_beta / count - normalized * grad_gamma / count)
        return grad_x, grad_gamma, grad_beta

    return normalized * gamma + beta, backward


def batch_norm_inference(x, gamma, beta, mean, variance, epsilon=1e-3):
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    shifted = np.exp(x - x.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def discriminator(weights, x):
    """Training pass at 64 pixels: features, logits, and (d features, d logits) -> (dx, gradients)."""
    w = {name.removeprefix("Discriminator/"): value for name, value in weights.items()}
    tape = []
    for name, stride, padding, norm in (
        ("conv1", 2, "same", None),
        ("conv2", 2, "same", "batch_normalization"),
        ("conv3", 4, "same", "batch_normalization_1"),
        ("conv4", 1, "valid", None),
    ):
        x, back_conv = conv(x, w[f"{name}/kernel"], stride, padding)
        x, back_relu = leaky_relu(x + w[f"{name}/bias"], 0.2)
        back_norm = None
        if norm:
            x, back_norm = batch_norm(x, w[f"{norm}/gamma"], w[f"{norm}/beta"])
        tape.append((name, back_conv, back_relu, norm, back_norm))
    last_shape = x.shape
    features = x.mean(axis=(1, 2))
    logits = features @ w["dense/kernel"] + w["dense/bias"]

    def backward(grad_features, grad_logits):
        gradients = {"dense/kernel": features.T @ grad_logits, "dense/bias": grad_logits.sum(0)}
        pooled = grad_features + grad_logits @ w["dense/kernel"].T
        grad = np.broadcast_to(pooled[:, None, None] / (last_shape[1] * last_shape[2]), last_shape)
        return _unwind(tape, grad, gradients, "Discriminator")

    return features, logits, backward


def generator(weights, z):
    """Training pass at 64 pixels: images, and d images -> (dz, gradients)."""
    w = {name.removeprefix("Generator/"): value for name, value in weights.items()}
    x = z[:, None, None, :]
    tape = []
    for name, stride, padding, norm in (
        ("deconv1", 1, "valid", "batch_normalization"),
        ("deconv2", 4, "same", "batch_normalization_1"),
        ("deconv3", 2, "same", "batch_normalization_2"),
    ):
        x, back_conv = conv_transpose(x, w[f"{name}/kernel"], stride, padding)
        x, back_relu = leaky_relu(x + w[f"{name}/bias"], 0.0)
        x, back_norm = batch_norm(x, w[f"{norm}/gamma"], w[f"{norm}/beta"])
        tape.append((name, back_conv, back_relu, norm, back_norm))
    x, back_last = conv_transpose(x, w["deconv4/kernel"], 2, "same")
    images = np.tanh(x + w["deconv4/bias"])

    def backward(grad_images):
        grad = grad_images * (1 - images**2)
        gradients = {"deconv4/bias": grad.sum((0, 1, 2))}
        grad, gradients["deconv4/kernel"] = back_last(grad)
        return _unwind(tape, grad, gradients, "Generator")

    return images, backward


def _unwind(tape, grad, gradients, scope):
    for name, back_conv, back_relu, norm, back_norm in reversed(tape):
        if norm:
            grad, gradients[f"{norm}/gamma"], gradients[f"{norm}/beta"] = back_norm(grad)
        grad = back_relu(grad)
        gradients[f"{name}/bias"] = grad.sum((0, 1, 2))
        grad, gradients[f"{name}/kernel"] = back_conv(grad)
    return grad, {f"{scope}/{name}": value for name, value in gradients.items()}
