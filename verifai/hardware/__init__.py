"""Hardware attestation: reports of AMD SEV-SNP, Intel TDX and AWS Nitro, verified offline from pinned roots at a stated time."""
