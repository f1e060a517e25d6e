/* regf.c - the copy of a hive, its base block, bins and cells.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "registry/regf.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- the copy --------------------------------------------------------------------------------- */

int
h2k_regf_temp_file (const char *temp_dir, GError **error)
{
  const char *tmpdir = g_getenv ("TMPDIR");
  const char *dir = temp_dir ? temp_dir : tmpdir && *tmpdir ? tmpdir : "/var/tmp";
  int fd = open (dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

  /* Not every filesystem has O_TMPFILE. */
  if (fd < 0)
    {
      g_autofree char *path = g_build_filename (dir, ".hyper2kvm-XXXXXX", NULL);

      fd = g_mkstemp_full (path, O_RDWR | O_CLOEXEC, 0600);
      if (fd >= 0)
        unlink (path);
    }
  if (fd < 0)
    h2k_set_errno (error, H2K_ERROR_OUTPUT, errno,
                   "Cannot make a temporary file in %s; choose another folder with --temp-dir",
                   dir);
  return fd;
}

H2kRegf *
h2k_regf_new (const char *temp_dir, gsize size, GError **error)
{
  g_autoptr (H2kRegf) regf = g_new0 (H2kRegf, 1);

  regf->fd = h2k_regf_temp_file (temp_dir, error);
  if (regf->fd < 0 || !h2k_regf_resize (regf, size, error))
    return NULL;
  return g_steal_pointer (&regf);
}

H2kRegf *
h2k_regf_map (int fd, GError **error)
{
  g_autoptr (H2kRegf) regf = g_new0 (H2kRegf, 1);
  off_t size = lseek (fd, 0, SEEK_END);

  regf->fd = fd;
  if (size < 0 || !h2k_regf_resize (regf, (gsize)size, error))
    return NULL;
  return g_steal_pointer (&regf);
}

void
h2k_regf_free (H2kRegf *regf)
{
  if (!regf)
    return;
  if (regf->data)
    munmap (regf->data, regf->size);
  if (regf->fd >= 0)
    close (regf->fd);
  g_free (regf->cells);
  g_free (regf);
}

gboolean
h2k_regf_resize (H2kRegf *regf, gsize size, GError **error)
{
  gsize whole = (size + H2K_REGF_PAGE - 1) / H2K_REGF_PAGE * H2K_REGF_PAGE;
  void *data;

  if (regf->data)
    munmap (regf->data, regf->size);
  regf->data = NULL;
  /* Blocks are taken now, so that a full disk is an error and no signal. */
  if (ftruncate (regf->fd, (off_t)whole) < 0
      || (errno = posix_fallocate (regf->fd, 0, (off_t)whole)) != 0
      || (data = mmap (NULL, whole, PROT_READ | PROT_WRITE, MAP_SHARED, regf->fd, 0)) == MAP_FAILED)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno,
                     "Cannot make a temporary file of %" G_GSIZE_FORMAT " bytes", whole);
      return FALSE;
    }
  regf->data = data;
  regf->size = whole;
  return TRUE;
}

/* --- the base block --------------------------------------------------------------------------- */

guint32
h2k_regf_checksum (const void *base)
{
  guint32 sum = 0;

  for (gsize i = 0; i < G_STRUCT_OFFSET (H2kRegfBase, checksum); i += 4)
    sum ^= h2k_le32 ((const guint8 *)base + i);
  return sum == 0 ? 1 : sum == 0xffffffff ? 0xfffffffe : sum;
}

gboolean
h2k_regf_base_is_valid (const void *base)
{
  const H2kRegfBase *block = base;

  return memcmp (block->magic, "regf", 4) == 0
         && GUINT32_FROM_LE (block->checksum) == h2k_regf_checksum (base);
}

void
h2k_regf_set_clean (H2kRegf *regf, guint32 sequence)
{
  H2kRegfBase *base = h2k_regf_base (regf);

  base->type = 0;
  do
    {
      base->sequence1 = base->sequence2 = GUINT32_TO_LE (sequence);
      base->checksum = GUINT32_TO_LE (h2k_regf_checksum (base));
      /* Equal numbers cancel each other out in the checksum: so it is the time that differs. */
      if (base->checksum == GUINT32_TO_LE (1) || base->checksum == GUINT32_TO_LE (0xfffffffe))
        base->written = GUINT64_TO_LE (GUINT64_FROM_LE (base->written) + 1);
      else
        break;
    }
  while (TRUE);
}

/* --- bins and cells --------------------------------------------------------------------------- */

static void
mark_cell (H2kRegf *regf, guint32 offset)
{
  regf->cells[offset / 64] |= (guint8)(1 << offset / 8 % 8);
}

/* The cells of the bin of LENGTH bytes at START; returns where one is broken, or the bin's end. */
static guint32
check_cells (H2kRegf *regf, guint32 start, guint32 length)
{
  guint32 at = start + sizeof (H2kRegfBin), end = start + length;

  while (at < end)
    {
      gint32 cell = (gint32)h2k_le32 (regf->data + H2K_REGF_BASE + at);
      guint32 size = cell < 0 ? 0 - (guint32)cell : (guint32)cell;

      if (size < 8 || size % 8 != 0 || size > end - at)
        return at;
      if (cell < 0)
        mark_cell (regf, at);
      at += size;
    }
  return end;
}

static const char *
check_bin (const H2kRegf *regf, guint32 at, guint32 end)
{
  const H2kRegfBin *bin = (const H2kRegfBin *)(regf->data + H2K_REGF_BASE + at);
  guint32 length = GUINT32_FROM_LE (bin->length);

  if (memcmp (bin->magic, "hbin", 4) != 0)
    return "is none";
  if (GUINT32_FROM_LE (bin->offset) != at)
    return "belongs elsewhere";
  if (length < H2K_REGF_PAGE || length % H2K_REGF_PAGE != 0)
    return "has an impossible length";
  if (length > end - at)
    return "goes over the end";
  return NULL;
}

char *
h2k_regf_check_bins (H2kRegf *regf, gboolean repair)
{
  guint32 claimed = GUINT32_FROM_LE (h2k_regf_base (regf)->length), end, at = 0;
  char *wrong = NULL;

  end = (guint32)MIN ((gsize)claimed, regf->size - H2K_REGF_BASE) / H2K_REGF_PAGE * H2K_REGF_PAGE;
  if (claimed == 0 || claimed % H2K_REGF_PAGE != 0 || claimed > H2K_REGF_MAX)
    wrong = g_strdup_printf ("its length of %u bytes is impossible", claimed);
  else if (end < claimed)
    wrong = g_strdup_printf ("it ends after %u of %u bytes", end, claimed);
  g_free (regf->cells);
  regf->cells = g_malloc0 (end / 64 + 1);
  while (at < end)
    {
      const char *reason = check_bin (regf, at, end);
      guint32 length = reason ? 0 : h2k_le32 (regf->data + H2K_REGF_BASE + at + 8);
      guint32 good = reason ? at : check_cells (regf, at, length);

      if (!wrong && reason)
        wrong = g_strdup_printf ("the bin at 0x%x %s", at, reason);
      if (reason)
        break;
      if (!wrong && good < at + length)
        wrong = g_strdup_printf ("the cell at 0x%x has an impossible length", good);
      if (good < at + length && repair)
        {
          guint32 rest = GUINT32_TO_LE (at + length - good);

          memcpy (regf->data + H2K_REGF_BASE + good, &rest, 4);
        }
      at += length;
    }
  regf->length = at;
  return wrong;
}

const void *
h2k_regf_cell (const H2kRegf *regf, guint32 offset, gsize need, gsize *length)
{
  gsize size;

  if (offset >= regf->length || offset % 8 != 0
      || !(regf->cells[offset / 64] & 1 << offset / 8 % 8))
    return NULL;
  size = 0 - h2k_le32 (regf->data + H2K_REGF_BASE + offset) - 4;
  if (size < need)
    return NULL;
  if (length)
    *length = size;
  return regf->data + H2K_REGF_BASE + offset + 4;
}

void
h2k_regf_free_cell (H2kRegf *regf, guint32 offset)
{
  guint8 *cell = regf->data + H2K_REGF_BASE + offset;
  guint32 size = GUINT32_TO_LE (0 - h2k_le32 (cell));

  if (!h2k_regf_cell (regf, offset, 0, NULL))
    return;
  memcpy (cell, &size, 4);
  regf->cells[offset / 64] &= (guint8) ~(1 << offset / 8 % 8);
}
