"""What a model eats: image size, channels, normalisation, and how other sizes are brought to it."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Resize = Literal["none", "stretch", "crop"]
"""`none`: other sizes are refused; `stretch`: both sides scaled alone; `crop`: aspect kept, centre cropped."""

Side = Annotated[int, Field(strict=True, ge=1, le=1024)]
Mean = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]
Deviation = Annotated[float, Field(ge=1e-6, le=1000, allow_inf_nan=False)]


class InputSpec(BaseModel):
    """The input of a classifier. Pixels are uint8 / 255, then `(value - mean) / std` per channel.

    With resize `crop` the shorter side is scaled so that the centre crop covers `crop_ratio` of it: 0.875 is the
    usual "256, then crop to 224". All resizing is bilinear with anti-aliasing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Side
    width: Side
    channels: Literal[1, 3]
    mean: tuple[Mean, ...]
    std: tuple[Deviation, ...]
    resize: Resize = "none"
    crop_ratio: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> Self:
        for field, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(f"Expected {self.channels} value(s) in {field}, one per channel, got {len(values)}.")
        if self.crop_ratio != 1.0 and self.resize != "crop":
            raise ValueError(f"Expected crop_ratio only with resize 'crop', got resize {self.resize!r}.")
        return self
