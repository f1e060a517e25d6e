/* ntfs-state.c - in which state an NTFS volume was left, and whether it can be trusted so far that
 * libntfs-3g may look at it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/corrupt.h"
#include "fs/ntfs-attr.h"
#include "fs/ntfs-private.h"

#define ADVICE "let chkdsk repair it"

/* --- the layout ------------------------------------------------------------------------------- */

/* Whether the copy of the boot sector in the volume's last sector looks better than the first. */
static gboolean
has_backup (H2kDisk *disk)
{
  guint8 sector[512];

  return disk->size >= 1024 && h2k_disk_pread (disk, disk->size - 512, sizeof sector, sector, NULL)
         && memcmp (sector + 3, "NTFS    ", 8) == 0;
}

static gboolean
check_boot (NtfsFs *ntfs, NtfsVolume *volume, GError **error)
{
  H2kDisk *disk = ntfs->base.volume;
  g_autoptr (GError) local = NULL;
  guint8 boot[512];

  if (!h2k_ntfs_open (volume, disk, &local))
    {
      if (g_error_matches (local, H2K_ERROR, H2K_ERROR_FILESYSTEM) && has_backup (disk))
        g_prefix_error (&local, "%s", "(the volume's last sector has a copy of its boot sector) ");
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  if (!h2k_disk_pread (disk, 0, sizeof boot, boot, error))
    return FALSE;
  ntfs->state.sector_size = h2k_le16 (boot + 11);
  ntfs->state.cluster_size = volume->cluster_size;
  ntfs->state.record_size = volume->record_size;
  ntfs->state.serial = h2k_le64 (boot + 72);
  if (ntfs->state.sector_size < 512)
    return h2k_set_fs_corrupt (disk, error, "NTFS", ADVICE, "its sectors have %u bytes",
                               ntfs->state.sector_size);
  return TRUE;
}

/* Files that libntfs-3g reads by itself, and how large they can be: those with a limit it reads as
 * a whole when a volume is opened. None of them is compressed. */
static const struct
{
  guint64 record;
  guint64 max;
  const char *stream;
} own_files[] = {
    {NTFS_FILE_UPCASE, 65536 * 2, ""},   {NTFS_FILE_ATTRDEF, 65536, ""},
    {NTFS_FILE_MFTMIRR, G_MAXINT64, ""}, {NTFS_FILE_LOGFILE, G_MAXINT64, ""},
    {NTFS_FILE_BITMAP, G_MAXINT64, ""},  {NTFS_FILE_SECURE, G_MAXINT64, "$SDS"},
};

static gboolean
check_own_files (NtfsFs *ntfs, NtfsVolume *volume, GError **error)
{
  for (gsize i = 0; i < G_N_ELEMENTS (own_files); i++)
    {
      g_autoptr (NtfsStream) stream = NULL;
      if (!h2k_ntfs_stream (volume, own_files[i].record, 0, NTFS_DATA, own_files[i].stream, &stream,
                            error))
        return FALSE;
      if (!stream && own_files[i].record == NTFS_FILE_SECURE)
        continue; /* of version 1 */
      if (!stream || stream->size == 0 || stream->size > own_files[i].max)
        return h2k_ntfs_corrupt (volume, error, "its file %u has an impossible size",
                                 (guint)own_files[i].record);
      if (stream->flags & 0xff)
        return h2k_ntfs_corrupt (volume, error, "its file %u is compressed",
                                 (guint)own_files[i].record);
    }
  return TRUE;
}

gboolean
h2k_ntfs_check_layout (NtfsFs *ntfs, GError **error)
{
  NtfsVolume volume;
  gboolean ok = check_boot (ntfs, &volume, error) && check_own_files (ntfs, &volume, error);

  h2k_ntfs_clear (&volume);
  return ok;
}

/* --- hibernation ------------------------------------------------------------------------------ */

/* What hiberfil.sys begins with (PO_MEMORY_IMAGE: le32 0 signature, le32 12 its own length). */
static const struct
{
  char signature[5];
  gboolean live;
} images[] = {
    {"hibr", TRUE},                  /* Windows 2000 to 7 */
    {"HIBR", TRUE},  {"rstr", TRUE}, /* continuing from it was begun and did not end */
    {"RSTR", TRUE},  {"link", TRUE}, /* the image is on another volume */
    {"LINK", TRUE},  {"HORM", TRUE}, /* "hibernate once, resume many": the same one each time */
    {"wake", FALSE},                 /* it was continued from */
    {"WAKE", FALSE},
};

/* The structure grew a lot with Windows 8, which brought Fast Startup: 0xe0 bytes in Windows 7,
 * more than 0x300 in Windows 8 and later. */
#define WINDOWS_8_IMAGE 0x200u

static gboolean
judge_image (NtfsFs *ntfs, const guint8 *head)
{
  for (gsize i = 0; i < G_N_ELEMENTS (images); i++)
    if (memcmp (head, images[i].signature, 4) == 0)
      {
        guint32 length = h2k_le32 (head + 12);
        ntfs->state.hibernated = images[i].live;
        ntfs->state.fast_startup = images[i].live && g_ascii_isupper (head[0])
                                   && length >= WINDOWS_8_IMAGE && length <= 4096;
        return TRUE;
      }
  return FALSE;
}

static gboolean
find_image (NtfsFs *ntfs, GError **error)
{
  g_autoptr (ntfs_inode) root = h2k_ntfs_open_record (ntfs, FILE_root), file = NULL;
  g_autoptr (ntfs_attr) na = NULL;
  guint8 head[16] = {0};
  guint64 ref;
  NtfsName name;

  name.n = h2k_ntfs_to_utf16 ("hiberfil.sys", 12, name.units, H2K_NTFS_MAX_UNITS);
  if (!root)
    return h2k_ntfs_fail (ntfs, error, "/", "cannot be opened");
  if (!h2k_ntfs_find_in (root, &name, &ref))
    return errno == ENOENT || h2k_ntfs_fail (ntfs, error, "/", "cannot be searched");
  file = h2k_ntfs_open_record (ntfs, ref);
  if (!file || h2k_ntfs_is_dir (file))
    return file || h2k_ntfs_fail (ntfs, error, "/hiberfil.sys", "cannot be opened");
  na = ntfs_attr_open (file, AT_DATA, AT_UNNAMED, 0);
  if (!na)
    return h2k_ntfs_fail (ntfs, error, "/hiberfil.sys", "cannot be opened");
  if (na->data_size == 0)
    return TRUE;
  if (!h2k_ntfs_pread (na, 0, (gsize)MIN (na->data_size, (s64)sizeof head), head))
    return h2k_ntfs_fail (ntfs, error, "/hiberfil.sys", "cannot be read");
  judge_image (ntfs, head);
  return TRUE;
}

/* --- the log ---------------------------------------------------------------------------------- */

static gboolean
look_at_log (NtfsFs *ntfs, GError **error)
{
  g_autoptr (ntfs_inode) file = ntfs_inode_open (ntfs->vol, FILE_LogFile);
  g_autoptr (ntfs_attr) na = file ? ntfs_attr_open (file, AT_DATA, AT_UNNAMED, 0) : NULL;
  RESTART_PAGE_HEADER *page = NULL;

  if (!na)
    return h2k_ntfs_fail (ntfs, error, "/$LogFile", "cannot be opened");
  ntfs->state.log_unclean = !ntfs_check_logfile (na, &page) || !ntfs_is_logfile_clean (na, page);
  /* Windows 8 and later use version 2 of the log while they have the volume, and go back to version
   * 1 when they let go of it. */
  if (page && le16_to_cpu (page->major_ver) >= 2)
    ntfs->state.log_unclean = ntfs->state.log_in_use = TRUE;
  free (page);
  if (ntfs->disk_error)
    return h2k_ntfs_fail (ntfs, error, "/$LogFile", "cannot be read");
  return TRUE;
}

/* --- what follows from it --------------------------------------------------------------------- */

static char *
why_frozen (const NtfsFs *ntfs)
{
  const H2kNtfsState *state = &ntfs->state;

  if (ntfs_version_is_supported (ntfs->vol) != 0)
    return g_strdup_printf ("it has version %u.%u of NTFS, which is not known",
                            state->version_major, state->version_minor);
  if (state->fast_startup)
    return g_strdup ("its Windows is hibernated, most likely since it was shut down with Fast "
                     "Startup; start it where it came from, run \"powercfg /h off\" and "
                     "\"shutdown /s /t 0\" there, and take its disks again");
  if (state->hibernated)
    return g_strdup ("its Windows is hibernated; start it where it came from, shut it down with "
                     "\"shutdown /s /t 0\", and take its disks again");
  if (state->log_in_use)
    return g_strdup ("Windows had not let go of it: it was running, was switched off, or is "
                     "hibernated on another volume; start it where it came from, run \"powercfg /h "
                     "off\" and \"shutdown /s /t 0\" there, and take its disks again");
  if (state->log_unclean)
    return g_strdup ("its log holds changes that were not carried out: it was not shut down; start "
                     "its Windows where it came from, shut it down with \"shutdown /s /t 0\", and "
                     "take its disks again");
  return NULL;
}

gboolean
h2k_ntfs_find_state (NtfsFs *ntfs, GError **error)
{
  ntfs->state.version_major = ntfs->vol->major_ver;
  ntfs->state.version_minor = ntfs->vol->minor_ver;
  ntfs->state.dirty_flag = (le16_to_cpu (ntfs->vol->flags) & 0x0001) != 0;
  if (!find_image (ntfs, error) || !look_at_log (ntfs, error))
    return FALSE;
  g_free (ntfs->base.frozen);
  ntfs->base.frozen = why_frozen (ntfs);
  if (ntfs->state.dirty_flag && !ntfs->base.note)
    ntfs->base.note = g_strdup ("it is marked as dirty: Windows runs chkdsk on it when it starts");
  return TRUE;
}
