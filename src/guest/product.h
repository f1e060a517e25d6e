/* product.h - what a distribution was made into: products that are packages on top of it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "guest/guest.h"

typedef struct
{
  const char *name; /* "Proxmox VE"; static */
  const char *id;   /* "proxmox-ve"; static */
  char *version;    /* "8.2.4"; not escaped */
} H2kProduct;

void h2k_product_free (H2kProduct *product);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kProduct, h2k_product_free)

/* The product that GUEST, a Debian, is by its installed packages; NULL: none. */
H2kProduct *h2k_guest_product (H2kGuest *guest);
