"""Hardware attestation: reports of AMD SEV-SNP, Intel TDX and AWS Nitro, verified offline for a stated time."""
