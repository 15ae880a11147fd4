//! iBOT (Zhou et al., ICLR 2022).

mod mask;
