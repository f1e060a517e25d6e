/* pe.h - what a Windows program or driver says of itself: its processor, whether it is a driver,
 * whether it is all there, and its version.
 *
 * Microsoft's "PE Format", and VS_VERSIONINFO of its resource documentation. Only headers and the
 * version resource are read; the bytes are hostile input. Thread-safe.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "drivers/release.h"

/* A file that is larger is refused: the largest drivers have some tens of MiB. */
#define H2K_PE_MAX_SIZE (256u << 20)

typedef struct
{
  guint16 machine;   /* IMAGE_FILE_MACHINE_*, as in the file */
  gboolean has_arch; /* MACHINE is one of those that ARCH can say */
  H2kWindowsArch arch;
  gboolean is_driver;      /* subsystem "native": drivers, and the kernel itself */
  gboolean is_whole;       /* all sections and signatures that it says it has are in the file */
  gboolean has_version;    /* there is a version resource; else the versions are 0 */
  guint16 file_version[4]; /* 10.0.20348.1 is {10, 0, 20348, 1} */
  guint16 product_version[4];
} H2kPe;

/* Read the headers of the SIZE bytes of a file called NAME (as it is shown in messages, unescaped).
 * A version resource that is damaged counts as none. Errors: H2K_ERROR_FORMAT. */
gboolean h2k_pe_parse (const void *data, gsize size, const char *name, H2kPe *pe, GError **error);
