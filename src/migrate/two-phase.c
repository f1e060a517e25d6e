/* two-phase.c - writes the definition of a Windows guest's first boot.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/two-phase.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

/* Windows shows a disk without a partition table to nobody; this is small even for XP. */
#define DISK_SIZE (64 << 20)

H2kTwoPhase *
h2k_two_phase_new (const char *xml_path)
{
  H2kTwoPhase *t = g_new0 (H2kTwoPhase, 1);
  g_autofree char *stem = g_str_has_suffix (xml_path, ".xml")
                              ? g_strndup (xml_path, strlen (xml_path) - 4)
                              : g_strdup (xml_path);

  t->xml_path = g_strconcat (stem, "-bootstrap.xml", NULL);
  t->disk_path = g_strconcat (stem, "-bootstrap.img", NULL);
  return t;
}

void
h2k_two_phase_free (H2kTwoPhase *t)
{
  if (!t)
    return;
  h2k_domain_free (t->domain);
  g_free (t->xml_path);
  g_free (t->disk_path);
  g_free (t->named_disk);
  g_free (t);
}

/* A file beside it takes its name, so that what is there is never half of it, and nothing is
 * written to where a link leads. */
static gboolean
write_disk (H2kTwoPhase *t, GError **error)
{
  g_autofree char *temp = g_strconcat (t->disk_path, ".part", NULL);
  int fd, err;

  g_unlink (temp);
  fd = open (temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "%s cannot be made", temp);
      return FALSE;
    }
  err = ftruncate (fd, DISK_SIZE) == 0 && fsync (fd) == 0 ? 0 : errno;
  if (close (fd) < 0 && !err)
    err = errno;
  if (!err && g_rename (temp, t->disk_path) < 0)
    err = errno;
  t->wrote_disk = err == 0;
  if (err)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, err, "%s cannot be written", t->disk_path);
      g_unlink (temp);
    }
  return err == 0;
}

static gboolean
write_xml (H2kTwoPhase *t, GError **error)
{
  g_autofree char *xml = h2k_domain_to_xml (t->domain);
  g_autoptr (GError) local = NULL;

  t->wrote_xml
      = g_file_set_contents_full (t->xml_path, xml, -1,
                                  G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
                                  0644, &local);
  if (!t->wrote_xml)
    g_set_error (error, H2K_ERROR,
                 g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_NOSPC) ? H2K_ERROR_NO_SPACE
                                                                           : H2K_ERROR_OUTPUT,
                 "the definition of the first boot cannot be written: %s", local->message);
  return t->wrote_xml;
}

gboolean
h2k_two_phase_write (H2kTwoPhase *t, const H2kDomain *final, const char *driver_iso, GError **error)
{
  g_autofree char *disk
      = g_canonicalize_filename (t->named_disk ? t->named_disk : t->disk_path, NULL);
  g_autofree char *iso = driver_iso ? g_canonicalize_filename (driver_iso, NULL) : NULL;

  t->domain = h2k_domain_bootstrap_new (final, disk, iso);
  if (write_disk (t, error) && write_xml (t, error))
    return TRUE;
  h2k_two_phase_undo (t);
  return FALSE;
}

void
h2k_two_phase_undo (H2kTwoPhase *t)
{
  if (t->wrote_xml)
    g_unlink (t->xml_path);
  if (t->wrote_disk)
    g_unlink (t->disk_path);
  t->wrote_xml = t->wrote_disk = FALSE;
}
