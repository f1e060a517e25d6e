/* guestfs-tools.c - reads what xfs_repair -n, btrfs check, e2fsck -n and fsck.fat -n say.
 *
 * Their exit status is the verdict: xfs_repair(8), btrfs-check(8), e2fsck(8), fsck.fat(8). Of their
 * lines all is a finding that is not about their own progress.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/guestfs-tools.h"

#define LONGEST 240u /* bytes of a line that are kept */

typedef struct
{
  const char *const *types;
  const char *command;
  const char *package; /* that puts the program into the appliance, on Debian */
  /* How lines begin that are no findings, those that are about sums which can be made again and
   * other untidiness, and parts of those that say that the program does not check this filesystem.
   */
  const char *const *progress, *const *harmless, *const *undecided;
  const char *const *closing; /* parts of the last lines, the last one first */
} Tool;

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static const Tool tools[] = {
    {
        .types = WORDS ("xfs"),
        .command = "xfs_repair -n",
        .package = "libguestfs-xfs",
        .progress = WORDS ("Phase ", "- ", "No modify flag set"),
        .harmless = WORDS (NULL),
        .undecided = WORDS ("unsupported filesystem features", "Only one AG detected"),
        .closing = WORDS (NULL),
    },
    {
        .types = WORDS ("btrfs"),
        .command = "btrfs check --readonly",
        .package = "btrfs-progs",
        .progress
        = WORDS ("Opening filesystem to check", "Checking filesystem on ", "UUID: ", "[", "found ",
                 "total ", "btree space waste bytes", "file data blocks allocated", "referenced "),
        .harmless
        = WORDS ("Counts for qgroup id", "our:", "disk:", "diff:", "Qgroup ", "Rescan hasn't been"),
        .undecided = WORDS ("unsupported option features"),
        .closing = WORDS (NULL),
    },
    {
        .types = WORDS ("ext2", "ext3", "ext4"),
        .command = "e2fsck -fn",
        .package = "e2fsprogs",
        .progress = WORDS ("e2fsck ", "Pass ", "Fix? no"),
        .harmless = WORDS ("Free blocks count wrong", "Free inodes count wrong"),
        .undecided = WORDS ("has unsupported feature(s)", "Get a newer version of e2fsck"),
        .closing = WORDS (" files (", "WARNING: Filesystem still has errors"),
    },
    {
        .types = WORDS ("vfat"),
        .command = "fsck.fat -n",
        .package = "dosfstools",
        .progress = WORDS ("fsck.fat ", "Leaving filesystem unchanged", "Automatically removing "),
        .harmless = WORDS ("Dirty bit is set", "There are differences between boot sector",
                           "This is mostly harmless", "Not automatically fixing this",
                           "Free cluster summary ", "Reclaimed "),
        .undecided = WORDS (NULL),
        .closing = WORDS (" files, "),
    },
};

static const Tool *
find_tool (const char *type)
{
  for (gsize i = 0; i < G_N_ELEMENTS (tools); i++)
    if (g_strv_contains (tools[i].types, type))
      return &tools[i];
  return NULL;
}

const char *
h2k_guestfs_check_command (const char *type)
{
  const Tool *tool = find_tool (type);

  return tool ? tool->command : NULL;
}

static gboolean
begins_with_one (const char *line, const char *const *words)
{
  for (; *words; words++)
    if (g_str_has_prefix (line, *words))
      return TRUE;
  return FALSE;
}

static gboolean
has_one (const char *line, const char *const *words)
{
  for (; *words; words++)
    if (strstr (line, *words))
      return TRUE;
  return FALSE;
}

/* LINE as it can be shown. The caller's. */
static char *
shown (const char *line)
{
  gsize length = MIN (strlen (line), LONGEST);

  while (length && (line[length] & 0xc0) == 0x80) /* within a character */
    length--;
  return h2k_escape_text (line, (gssize)length);
}

/* Take away the empty lines, and the progress, at the end of LINES, and what closes it: each of
 * those once, so that a file's name can imitate no more than that. */
static void
cut_end (const Tool *tool, char **lines)
{
  guint n = g_strv_length (lines);
  const char *const *closing = tool->closing;

  for (; n; n--)
    {
      const char *line = g_strstrip (lines[n - 1]);
      if (!*line || begins_with_one (line, tool->progress))
        *lines[n - 1] = '\0';
      else if (*closing && strstr (line, *closing))
        {
          *lines[n - 1] = '\0';
          closing++;
        }
      else
        break;
    }
}

/* Take the lines of OUTPUT. FALSE: the program did not check, CHECK says why. */
static gboolean
read_lines (const Tool *tool, gboolean ok, const char *output, H2kFsCheck *check)
{
  g_autofree char *valid = g_utf8_make_valid (output, -1);
  g_auto (GStrv) lines = g_strsplit_set (valid, "\r\n", -1);

  cut_end (tool, lines);
  for (guint i = 0; lines[i]; i++)
    {
      const char *line = g_strstrip (lines[i]);
      g_autofree char *safe = shown (line);

      if (!ok && has_one (line, tool->undecided))
        {
          h2k_fs_check_leave (check, "%s: %s", tool->command, safe);
          return FALSE;
        }
      if (!*line || begins_with_one (line, tool->progress))
        continue;
      if (ok || begins_with_one (line, tool->harmless))
        h2k_fs_check_note (check, "%s", safe);
      else
        h2k_fs_check_corrupt (check, "%s", safe);
    }
  return TRUE;
}

void
h2k_guestfs_read_check (const char *type, guint status, const char *output, H2kFsCheck *check)
{
  const Tool *tool = find_tool (type);

  g_return_if_fail (tool != NULL);
  if (status == 126 || status == 127)
    h2k_fs_check_leave (check, "the libguestfs appliance has no %.*s (on Debian: the package %s)",
                        (int)strcspn (tool->command, " "), tool->command, tool->package);
  else if (status >= 128)
    h2k_fs_check_leave (check, "%s was killed by signal %u%s", tool->command, status - 128,
                        status == 137 ? ": the appliance's memory was too small for it" : "");
  else if (read_lines (tool, status == 0, output, check))
    {
      check->checked = TRUE;
      if (status && !check->corruptions && !check->notes)
        h2k_fs_check_corrupt (check, "%s ended with status %u", tool->command, status);
    }
}
