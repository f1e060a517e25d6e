/* guest-files.c - what the commands for a guest's files share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include "util/util.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MAX_DEPTH 2048

static char **disks, **keys;
static char *format;

const GOptionEntry cmd_guest_entries[] = {
    {"add", 'a', 0, G_OPTION_ARG_FILENAME_ARRAY, &disks,
     "a disk of the VM, the first one first; may be repeated", "DISK"},
    {"format", 'f', 0, G_OPTION_ARG_STRING, &format, "the disks' format (default: found)", "FMT"},
    {"key", 0, 0, G_OPTION_ARG_STRING_ARRAY, &keys, "a LUKS container's key; may be repeated",
     "DEV:file:F"},
    {"backend", 0, 0, G_OPTION_ARG_CALLBACK, cmd_parse_backend,
     "what reads and changes the guest's files: auto (default), native or guestfs", "WHICH"},
    {NULL},
};

/* Whether a name that is no absolute path is the disk that was meant. */
static gboolean
is_host_file (const char *name)
{
  return g_file_test (name, G_FILE_TEST_EXISTS) || strstr (name, "://");
}

/* Whether NAME can be a path of a Windows: which system it is will be seen. */
static gboolean
is_windows_path (const char *name)
{
  return name[0] == '\\' || (g_ascii_isalpha (name[0]) && name[1] == ':');
}

/* Operands from FIRST on are paths in the guest. */
static int
check_paths (int argc, char **argv, int first)
{
  for (int i = first; i < argc; i++)
    if (argv[i][0] == '/' || (is_windows_path (argv[i]) && !is_host_file (argv[i])))
      continue;
    else if (disks && is_host_file (argv[i]))
      return cmd_usage (argv[0],
                        "%s: give the disk as the operand or all disks with --add, not both",
                        argv[i]);
    else if (is_host_file (argv[i]))
      return cmd_usage (argv[0],
                        "%s is no absolute path in the guest: of several disks each is named "
                        "with --add",
                        argv[i]);
    else
      return cmd_usage (argv[0],
                        "\"%s\" is no absolute path: files of a guest are named from its "
                        "root, as /etc/fstab",
                        argv[i]);
  return -1;
}

int
cmd_find_disks (int argc, char **argv, int least, int *first, GPtrArray *paths)
{
  *first = 1;
  for (guint i = 0; disks && disks[i]; i++)
    g_ptr_array_add (paths, disks[i]);
  if (!disks && argc > 1)
    g_ptr_array_add (paths, argv[(*first)++]);
  if (paths->len == 0)
    return cmd_usage (argv[0], "no disk is named");
  if (argc - *first < least)
    return cmd_usage (argv[0], "%s",
                      least > 1 ? "two names are needed: here, and in the guest"
                                : "no path in the guest is named");
  return check_paths (argc, argv, least > 1 ? argc - 1 : *first);
}

int
cmd_open_disks (GPtrArray *paths, H2kFiles **files)
{
  g_autoptr (GPtrArray) specs = g_ptr_array_new ();
  g_autoptr (GError) error = NULL;

  for (guint i = 0; keys && keys[i]; i++)
    g_ptr_array_add (specs, keys[i]);
  g_cancellable_push_current (cmd_cancellable ());
  *files = h2k_files_open (paths, format, specs, cmd_backend (), &error);
  return *files ? -1 : cmd_fail (error);
}

int
cmd_open_guest (int argc, char **argv, int least, int *first, H2kFiles **files)
{
  g_autoptr (GPtrArray) paths = g_ptr_array_new ();
  int code = cmd_find_disks (argc, argv, least, first, paths);

  return code < 0 ? cmd_open_disks (paths, files) : code;
}

gboolean
cmd_may_enter (const CmdFolder *outer, const H2kFileInfo *info, GError **error)
{
  if (g_cancellable_is_cancelled (cmd_cancellable ()))
    {
      g_set_error_literal (error, H2K_ERROR, H2K_ERROR_CANCELLED, "interrupted");
      return FALSE;
    }
  for (guint depth = 1; outer; outer = outer->outer, depth++)
    if (depth > MAX_DEPTH)
      {
        g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                     "more than %d folders lie in each other", MAX_DEPTH);
        return FALSE;
      }
    else if (outer->info->inode == info->inode && outer->info->mount == info->mount)
      {
        g_autofree char *safe = h2k_escape_text (info->name, -1);
        g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
                     "the folder %s lies in itself: the filesystem is corrupt; check it with fsck",
                     safe);
        return FALSE;
      }
  return TRUE;
}

static char
type_letter (guint32 mode)
{
  switch (mode & S_IFMT)
    {
    case S_IFDIR:
      return 'd';
    case S_IFLNK:
      return 'l';
    case S_IFCHR:
      return 'c';
    case S_IFBLK:
      return 'b';
    case S_IFIFO:
      return 'p';
    case S_IFSOCK:
      return 's';
    default:
      return '-';
    }
}

/* "rwxr-sr-t" */
static void
mode_text (guint32 mode, char text[10])
{
  static const guint32 special[] = {S_ISUID, S_ISGID, S_ISVTX};

  for (guint i = 0; i < 9; i++)
    text[i] = mode & (0400u >> i) ? "rwx"[i % 3] : '-';
  for (guint i = 0; i < 3; i++)
    if (mode & special[i])
      text[i * 3 + 2] = text[i * 3 + 2] == 'x' ? "sst"[i] : "SST"[i];
  text[9] = '\0';
}

char *
cmd_file_line (const H2kFileInfo *info)
{
  gboolean is_device = S_ISCHR (info->mode) || S_ISBLK (info->mode);
  g_autoptr (GDateTime) time = g_date_time_new_from_unix_utc (info->mtime);
  g_autofree char *when = time ? g_date_time_format (time, "%Y-%m-%d %H:%M") : g_strdup ("?");
  g_autofree char *size = is_device
                              ? g_strdup_printf ("%u, %u", major (info->rdev), minor (info->rdev))
                              : g_strdup_printf ("%" G_GUINT64_FORMAT, info->size);
  char mode[10];

  mode_text (info->mode, mode);
  return g_strdup_printf ("%c%s %3u %5u %5u %10s %16s", type_letter (info->mode), mode, info->nlink,
                          info->uid, info->gid, size, when);
}

char *
cmd_shown_name (const char *name)
{
  return isatty (STDOUT_FILENO) ? h2k_escape_text (name, -1) : g_strdup (name);
}
