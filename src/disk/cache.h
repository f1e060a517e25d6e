/* cache.h - a small cache of immutable blocks, with a bound on its bytes; the least used goes
 * first.
 *
 * Safe for use by several threads. Nothing is read under its lock: ask, read what is missing, put.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include <glib.h>

typedef struct _H2kCache H2kCache;

H2kCache *h2k_cache_new (gsize max_bytes);
void h2k_cache_free (H2kCache *cache);
/* The block of KEY, a reference, or NULL. */
GBytes *h2k_cache_get (H2kCache *cache, guint64 key);
/* Keep a reference to BLOCK, unless there is one for KEY already. */
void h2k_cache_put (H2kCache *cache, guint64 key, GBytes *block);
