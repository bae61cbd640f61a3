"""The small networks defined here: for 32x32 images and for the demonstration. Torch; workers only."""

from collections import OrderedDict

from torch import Tensor, nn

VGG11_LAYERS: tuple[int | None, ...] = (64, None, 128, None, 256, 256, None, 512, 512, None, 512, 512, None)
"""Convolutions by their number of outputs; None is a 2x2 max-pooling."""


class CifarVgg11(nn.Module):
    """VGG11 with batch normalisation for 32x32 inputs: 512 features are left after five poolings.

    Args:
        num_classes: size of the output.
        channels: channels of the input.
        dropout: probability in both dropout layers.
    """

    def __init__(self, num_classes: int, channels: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in VGG11_LAYERS:
            if width is None:
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(512, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, channels, 32, 32)."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity, or a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Activations of the block."""
        hidden = self.relu(self.bn1(self.conv1(x)))
        total: Tensor = self.relu(self.bn2(self.conv2(hidden)) + self.downsample(x))
        return total


class CifarResNet18(nn.Module):
    """ResNet-18 for 32x32 inputs: a 3x3 stem of stride 1 and no max-pooling; the keys are those of torchvision's.

    Args:
        num_classes: size of the output.
        channels: channels of the input.
    """

    def __init__(self, num_classes: int, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(ResidualBlock(64, 64, 1), ResidualBlock(64, 64, 1))
        self.layer2 = nn.Sequential(ResidualBlock(64, 128, 2), ResidualBlock(128, 128, 1))
        self.layer3 = nn.Sequential(ResidualBlock(128, 256, 2), ResidualBlock(256, 256, 1))
        self.layer4 = nn.Sequential(ResidualBlock(256, 512, 2), ResidualBlock(512, 512, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, channels, H, W)."""
        hidden = self.relu(self.bn1(self.conv1(x)))
        hidden = self.layer4(self.layer3(self.layer2(self.layer1(hidden))))
        logits: Tensor = self.fc(self.avgpool(hidden).flatten(1))
        return logits


class SmallConvNet(nn.Module):
    """Four convolutions and two linear layers for images of 8x8 to 64x64; about 67,000 parameters at width 16.

    No batch normalisation, so that every weight is one that the projection can reach.

    Args:
        num_classes: size of the output.
        channels: channels of the input.
        width: outputs of the first two convolutions; the next two have twice as many.
    """

    def __init__(self, num_classes: int, channels: int = 1, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=nn.Conv2d(channels, width, 3, padding=1),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(width, width, 3, padding=1),
                relu2=nn.ReLU(),
                pool1=nn.MaxPool2d(2, 2),
                conv3=nn.Conv2d(width, 2 * width, 3, padding=1),
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(2 * width, 2 * width, 3, padding=1),
                relu4=nn.ReLU(),
                # Fixes the size that the classifier sees; at 8x8 input it changes nothing.
                pool2=nn.AdaptiveAvgPool2d(4),
            )
        )
        self.classifier = nn.Sequential(
            OrderedDict[str, nn.Module](
                fc1=nn.Linear(32 * width, 6 * width), relu=nn.ReLU(), fc2=nn.Linear(6 * width, num_classes)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, channels, H, W)."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits
