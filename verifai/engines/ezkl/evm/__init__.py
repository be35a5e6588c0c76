"""The on-chain check: ezkl's Solidity verifier of a circuit, compiled by solc and run in py-evm, as a second opinion."""
