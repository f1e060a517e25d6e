/* swap-usage.c - of a swap space only the header is in use.
 *
 * After include/linux/swap.h of Linux (union swap_header) and mkswap(8). The header fills one page
 * of the machine that made it, 4 to 64 KiB, in that machine's byte order; the list of bad pages is
 * part of it. What was swapped out means nothing once the system has been shut down. A system that
 * was suspended to the swap space has not been: then all of it is kept, whatever the caller wants
 * to drop, because the header would go on saying that there is a memory image.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/usage.h"

#define MIN_PAGE 4096u
#define MAX_PAGE H2K_SWAP_HEADER
#define MAGIC_SIZE 10u

/* version 1, behind the 1024 bytes that are left to a boot loader */
enum
{
  SWAP_VERSION = 1024,
  SWAP_LAST_PAGE = 1028,
  SWAP_PADDING = 1068,
  SWAP_BAD_PAGES = 1536,
};

typedef struct
{
  H2kUsage base;
  guint64 start, end; /* bytes: what is not in use */
} SwapUsage;

typedef enum
{
  MAGIC_NONE,
  MAGIC_OLD,
  MAGIC_NEW,
  MAGIC_SUSPENDED,
} Magic;

/* The last ten bytes of the header page. While a memory image is stored, the kernel, uswsusp and
 * TuxOnIce have their own there. */
static const struct
{
  const char *text;
  Magic magic;
} magics[] = {
    {"SWAP-SPACE", MAGIC_OLD},
    {"SWAPSPACE2", MAGIC_NEW},
    {"S1SUSPEND", MAGIC_SUSPENDED},
    {"S2SUSPEND", MAGIC_SUSPENDED},
    {"ULSUSPEND", MAGIC_SUSPENDED},
    {"LINHIB0001", MAGIC_SUSPENDED},
    {"\xed\xc3\x02\xe9\x98\x56\xe5\x0c", MAGIC_SUSPENDED},
};

static gboolean
fail (const char *name, GError **error, const char *why)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM, "%s: the swap space %s", name, why);
  return FALSE;
}

static Magic
find_magic (const guint8 *header, gsize page)
{
  for (gsize i = 0; i < G_N_ELEMENTS (magics); i++)
    if (memcmp (header + page - MAGIC_SIZE, magics[i].text, strlen (magics[i].text)) == 0)
      return magics[i].magic;
  return MAGIC_NONE;
}

/* The one page size with which HEADER makes sense; *LENGTH bytes of it are there. */
static gboolean
find_page (const char *name, const guint8 *header, gsize length, gsize *page, Magic *magic,
           GError **error)
{
  *magic = MAGIC_NONE;
  for (gsize size = MIN_PAGE; size <= MIN (length, MAX_PAGE); size *= 2)
    {
      Magic found = find_magic (header, size);
      if (found == MAGIC_SUSPENDED)
        return fail (name, error, "holds the memory of a suspended system, which is kept");
      if (found != MAGIC_NONE && *magic != MAGIC_NONE)
        return fail (name, error, "has headers of several page sizes");
      if (found == MAGIC_NONE)
        continue;
      *magic = found;
      *page = size;
    }
  return *magic != MAGIC_NONE || fail (name, error, "has no header");
}

/* Version 0 has a bit for each page that may be used, in words of 32 or 64 bits. */
static guint64
pages_of_bitmap (const guint8 *header, gsize page)
{
  gsize byte = page - MAGIC_SIZE;

  while (byte > 0 && header[byte - 1] == 0)
    byte--;
  /* In which order the last word's bits are depends on the machine: its pages stay in use. */
  return byte ? (guint64)(byte - 1) / 8 * 64 : 0;
}

/* How many pages the header says that there are, itself included; 0: it makes no sense. */
static guint64
count_pages (const guint8 *header, gsize page, Magic magic)
{
  const guint8 *version = header + SWAP_VERSION;
  guint32 last;

  if (magic == MAGIC_OLD)
    return pages_of_bitmap (header, page);
  if (!h2k_is_zero (header + SWAP_PADDING, SWAP_BAD_PAGES - SWAP_PADDING))
    return 0;
  if (h2k_le32 (version) == 1)
    last = h2k_le32 (header + SWAP_LAST_PAGE);
  else if (h2k_be32 (version) == 1)
    last = h2k_be32 (header + SWAP_LAST_PAGE);
  else
    return 0;
  return last ? (guint64)last + 1 : 0;
}

gboolean
h2k_swap_parse (const char *name, const guint8 *header, gsize length, guint64 size, guint64 *start,
                guint64 *end, GError **error)
{
  gsize page = 0;
  guint64 pages;
  Magic magic;

  if (!find_page (name, header, length, &page, &magic, error))
    return FALSE;
  pages = count_pages (header, page, magic);
  if (pages == 0)
    return fail (name, error, "has a damaged header");
  if (pages > size / page)
    return fail (name, error, "is larger than what holds it");
  *start = page;
  *end = pages * page;
  return TRUE;
}

static gboolean
parse (SwapUsage *swap, H2kDisk *volume, GError **error)
{
  gsize length = (gsize)MIN (volume->size, H2K_SWAP_HEADER);
  g_autofree guint8 *header = g_malloc0 (H2K_SWAP_HEADER);

  return h2k_disk_pread (volume, 0, length, header, error)
         && h2k_swap_parse (volume->name, header, length, volume->size, &swap->start, &swap->end,
                            error);
}

static gboolean
swap_used (H2kUsage *base, guint64 offset, H2kExtent *extent, GError **error)
{
  const SwapUsage *swap = (SwapUsage *)base;
  gboolean used = offset < swap->start || offset >= swap->end;
  guint64 end = offset < swap->start ? swap->start : used ? base->volume->size : swap->end;

  (void)error;
  *extent = (H2kExtent){offset, end - offset, used ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED};
  return TRUE;
}

static gboolean
swap_takes (const H2kFsId *id)
{
  return g_str_equal (id->type, "swap");
}

static void
swap_close (H2kUsage *base)
{
  g_free (base);
}

static H2kUsage *
swap_open (H2kDisk *volume, const H2kFsId *id, gboolean drop_swap, GError **error)
{
  g_autofree SwapUsage *swap = g_new0 (SwapUsage, 1);

  (void)id;
  (void)drop_swap;
  if (!parse (swap, volume, error))
    return NULL;
  h2k_usage_init (&swap->base, &h2k_swap_usage_ops, volume);
  return &((SwapUsage *)g_steal_pointer (&swap))->base;
}

const H2kUsageOps h2k_swap_usage_ops = {
    .name = "swap",
    .takes = swap_takes,
    .open = swap_open,
    .used = swap_used,
    .close = swap_close,
};
