"""Configurations of PEFT's kind, with the settings of a method of ours as their fields."""

from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from typing import Any, ClassVar

from peft import PeftConfig

from continual.adapters.checks import check_choice, check_count
from continual.adapters.settings import configure
from continual.errors import InputError
from continual.interop.peft_types.names import allowed, class_name, type_name

DEFAULTS = {"pica": {"shared": False}}  # where a method's own default is one of the whole model


class TypeName(str):
    """The name of a type that is no member of PEFT's enumeration and is asked for the same."""

    __slots__ = ()

    @property
    def value(self) -> str:
        """The bare name."""
        return str(self)

    @property
    def name(self) -> str:
        """The same."""
        return str(self)


@dataclass
class MethodConfig(PeftConfig):
    """What every method's configuration has beside the method's own settings.

    Attributes:
        target_modules: as in PEFT; None takes query, key and value of a known architecture.
        exclude_modules: as in PEFT.
        layers_to_transform: as in PEFT.
        layers_pattern: as in PEFT.
        modules_to_save: as in PEFT.
        bias: biases of the model that learn too: none, all, or curlora_only (by the type's name in
            lower case), those of adapted layers.
        init_weights: False adds random numbers to all that learns, from torch's global generator,
            so that a fresh adapter changes the function: for tests, as in PEFT.
        seed: of every random choice of the method, as in ``continual.attach``. Equal seeds give
            adapters of two names equal numbers.
    """

    METHOD: ClassVar[str]
    TYPE: ClassVar[TypeName]

    target_modules: list[str] | set[str] | str | None = None
    exclude_modules: list[str] | set[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    bias: str = "none"
    init_weights: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            InputError: a setting is out of range, or needs what PEFT cannot give.
        """
        super().__post_init__()
        self.peft_type = self.TYPE
        for name in ("target_modules", "exclude_modules"):
            value = vars(self)[name]
            if isinstance(value, list | tuple):
                setattr(self, name, set(value))
        if isinstance(self.target_modules, str) and (
            self.layers_to_transform is not None or self.layers_pattern is not None
        ):
            raise InputError(
                "layers_to_transform and layers_pattern choose among listed target_modules; here "
                f"target_modules is the expression {self.target_modules!r}. Give a list."
            )
        only = f"{self.TYPE.lower()}_only"
        check_choice(f"{type(self).__name__}.bias", self.bias, ("none", "all", only))
        check_count(f"{type(self).__name__}.seed", self.seed, least=0)
        if not isinstance(self.init_weights, bool):
            raise InputError(f"init_weights must be true or false; got {self.init_weights!r}.")
        self.settings()

    def settings(self) -> Any:
        """Return the method's own config.

        Raises:
            InputError: a setting is out of range, or needs what PEFT cannot give.
        """
        method = allowed(self.METHOD)
        own = configure(method.name, {f.name: vars(self)[f.name] for f in fields(method.config)})
        kind = method.adapter
        assert kind is not None
        if kind.needs_task(own):
            raise InputError(
                f"with these settings every task of {method.name!r} has a function of its own, and "
                "PEFT tells a model no task."
            )
        if kind.searches(own) is not None:
            raise InputError(
                f"with these settings {method.name!r} ends every task by a search, which PEFT does "
                "not make; leave supernet out."
            )
        return own


@cache
def config_class(method: str) -> type[MethodConfig]:
    """Return the class of configurations of a method, registered or not.

    Raises:
        InputError: the method is unknown or has no type.
    """
    found = allowed(method)
    default = {one.name: one.default for one in fields(found.config)}
    default |= DEFAULTS.get(found.name, {})
    own = [(one.name, one.type, field(default=default[one.name])) for one in fields(found.config)]
    kind = TypeName(type_name(found.name))
    text = f"{found.title} as PEFT's type {kind}; settings as those of {found.config.__name__}."
    return make_dataclass(
        class_name(found.name),
        own,
        bases=(MethodConfig,),
        namespace={
            "METHOD": found.name,
            "TYPE": kind,
            "__doc__": f"{text}\n\n{found.config.__doc__}\n{MethodConfig.__doc__}",
            "__module__": __package__,
        },
    )
