/* private.h - what the files of the registry share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "registry/hive.h"

/* N_UNITS of UTF-16LE, NULs among them too, as UTF-8; unpaired surrogates become U+FFFD. The
 * caller's. */
char *h2k_reg_decode (const guint8 *data, gsize n_units);
