/* virt-files.c - files of a clone for the user as whom a system's libvirt runs QEMU.
 *
 * By itself libvirt makes all images of a chain that user's, the original, too, which is not to be
 * touched. So the definition says that it changes no owner (static label, relabel='no'), and what
 * the VM needs is given here. QEMU can write to the current layer only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/clone/start.h"
#include "migrate/clone/virt.h"
#include "migrate/clone/original-reader.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define GROUPS_MAX 64

char *
h2k_virt_text_at (const char *xml, const char *where)
{
  xmlDoc *doc = xml ? xmlReadMemory (xml, (int)strlen (xml), NULL, NULL,
                                     XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING)
                    : NULL;
  xmlXPathContext *context = doc ? xmlXPathNewContext (doc) : NULL;
  xmlXPathObject *found = context ? xmlXPathEvalExpression (BAD_CAST where, context) : NULL;
  xmlChar *text = found && found->nodesetval && found->nodesetval->nodeNr > 0
                      ? xmlNodeGetContent (found->nodesetval->nodeTab[0])
                      : NULL;
  char *copy = g_strdup ((const char *)text);

  xmlFree (text);
  xmlXPathFreeObject (found);
  xmlXPathFreeContext (context);
  xmlFreeDoc (doc);
  return copy;
}

char *
h2k_virt_owner (virConnectPtr connection)
{
  char *xml = virConnectGetCapabilities (connection);
  g_autofree char *label
      = h2k_virt_text_at (xml, "/capabilities/host/secmodel[model='dac']/baselabel[@type='qemu']");
  unsigned uid, gid;

  free (xml);
  if (!label || sscanf (label, "+%u:+%u", &uid, &gid) != 2 || uid == geteuid ())
    return NULL;
  return g_steal_pointer (&label);
}

/* --- what another user may -------------------------------------------------------------------- */

typedef struct
{
  uid_t uid;
  gid_t gid;
  gid_t groups[GROUPS_MAX];
  int n_groups;
  char *name; /* for messages */
} User;

static void
user_clear (User *user)
{
  g_free (user->name);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (User, user_clear)

static void
find_user (const char *label, User *user)
{
  const struct passwd *entry;
  unsigned uid = 0, gid = 0;

  sscanf (label, "+%u:+%u", &uid, &gid);
  user->uid = uid;
  user->gid = gid;
  user->n_groups = GROUPS_MAX;
  entry = getpwuid (uid);
  user->name = entry ? g_strdup (entry->pw_name) : g_strdup_printf ("user %u", uid);
  if (!entry || getgrouplist (entry->pw_name, gid, user->groups, &user->n_groups) < 0)
    {
      user->groups[0] = gid;
      user->n_groups = 1;
    }
}

/* Whether USER can read PATH, also through ACLs and folders: 0 or an errno value. Only what is
 * allowed after a fork is done there. */
static int
try_reading (const User *user, const char *path)
{
  pid_t pid = fork ();
  int status;

  if (pid == 0)
    {
      if (syscall (SYS_setgroups, (size_t)user->n_groups, user->groups) != 0
          || syscall (SYS_setresgid, user->gid, user->gid, user->gid) != 0
          || syscall (SYS_setresuid, user->uid, user->uid, user->uid) != 0)
        _exit (EPERM);
      _exit (open (path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) >= 0 ? 0 : errno & 0xff);
    }
  if (pid < 0)
    return errno;
  while (waitpid (pid, &status, 0) < 0)
    if (errno != EINTR)
      return errno;
  return WIFEXITED (status) ? WEXITSTATUS (status) : EIO;
}

/* --- originals -------------------------------------------------------------------------------- */

static gboolean
set_owner (const char *path, uid_t uid, gid_t gid, mode_t mode, GError **error)
{
  int fd = open (path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  gboolean ok = fd >= 0 && fchown (fd, uid, gid) == 0 && fchmod (fd, mode) == 0;

  if (!ok)
    h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot change the owner of %s", path);
  if (fd >= 0)
    close (fd);
  return ok;
}

/* The right to read a device is no part of the device: it lies in the host's memory. */
static gboolean
allow_device (const User *user, const char *path)
{
  g_autofree char *entry = g_strdup_printf ("u:%u:r", (unsigned)user->uid);
  const char *argv[] = {"setfacl", "-m", entry, path, NULL};
  g_autoptr (GSubprocess) process
      = g_subprocess_newv (argv,
                           G_SUBPROCESS_FLAGS_STDOUT_SILENCE | G_SUBPROCESS_FLAGS_STDERR_SILENCE,
                           NULL);

  return process && g_subprocess_wait_check (process, NULL, NULL) && try_reading (user, path) == 0;
}

static gboolean
check_file (const H2kClone *clone, const User *user, const char *path, GError **error)
{
  g_autofree char *own = g_strconcat (clone->dir, "/", NULL);
  int err = try_reading (user, path);
  struct stat st;

  /* A snapshot that was taken of the original for this clone. */
  if (g_str_has_prefix (path, own))
    return set_owner (path, 0, user->gid, 0640, error);

  if (err == 0)
    return TRUE;
  if (stat (path, &st) == 0 && S_ISBLK (st.st_mode) && allow_device (user, path))
    {
      g_message ("%s may read %s from now on, until the host restarts", user->name, path);
      return TRUE;
    }
  g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
               "%s cannot be read by %s, as whom libvirt runs QEMU (%s), and an original's rights "
               "are not changed by hyper2kvm: give that user the right to read it and to enter its "
               "folders (setfacl -m u:%s:r, :x), or start the VM by `hyper2kvm clone run`",
               path, user->name, g_strerror (err), user->name);
  return FALSE;
}

static gboolean
check_originals (const H2kClone *clone, const User *user, GError **error)
{
  for (guint i = 0; i < clone->n_disks; i++)
    {
      JsonObject *original = h2k_clones_original (clone, i);
      g_autofree char *socket = h2k_original_socket (original);
      g_autoptr (H2kDisk) disk = NULL;

      /* What is served is read by the server. */
      if (socket)
        continue;
      disk = h2k_original_open (original, error);
      if (!disk)
        return FALSE;
      for (guint f = 0; f < disk->files->len; f++)
        if (!check_file (clone, user, disk->files->pdata[f], error))
          return FALSE;
    }
  return TRUE;
}

/* --- layers ----------------------------------------------------------------------------------- */

static gboolean
give_layer (const H2kClone *clone, guint number, const User *user, GError **error)
{
  gboolean current = number == clone->current;
  g_autofree char *nvram = g_strdup_printf ("%s/layers/%u/nvram.fd", clone->dir, number);

  for (guint i = 0; i < clone->n_disks; i++)
    {
      g_autofree char *path = h2k_clone_image (clone, number, i);
      if (!set_owner (path, current ? user->uid : 0, user->gid, current ? 0600 : 0640, error))
        return FALSE;
    }
  return !current || access (nvram, F_OK) != 0
         || set_owner (nvram, user->uid, user->gid, 0600, error);
}

/* QEMU has to get at the socket of swtpm, which libvirt gives to its user only where it may change
 * owners. */
static gboolean
check_tpm (const H2kClone *clone, const User *user, GError **error)
{
  g_autoptr (H2kDomain) machine = h2k_clone_machine (clone);

  if (!machine->tpm || user->uid == 0)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "the VM of the clone %s has a TPM, which the system's libvirt gives to QEMU only "
               "where it makes the disks %s's, the original, too: start it by `hyper2kvm clone run "
               "%s`",
               clone->name, user->name, clone->name);
  return FALSE;
}

gboolean
h2k_virt_hand_over (virConnectPtr connection, const H2kClone *clone, GError **error)
{
  g_autofree char *label = h2k_virt_owner (connection);
  g_auto (User) user = {0};
  g_autofree char *image = h2k_clone_image (clone, 0, 0);
  int err;

  if (!label)
    return TRUE;
  find_user (label, &user);
  if (geteuid () != 0)
    {
      g_set_error (
          error, H2K_ERROR, H2K_ERROR_USAGE,
          "the system's libvirt runs QEMU as %s, who must not get at your clones: use your "
          "own (--connect qemu:///session), or make the clone as root",
          user.name);
      return FALSE;
    }
  if (!check_tpm (clone, &user, error) || !check_originals (clone, &user, error))
    return FALSE;
  for (guint at = clone->current; at != 0; at = h2k_clone_layer (clone, at)->parent)
    if (!give_layer (clone, at, &user, error))
      return FALSE;
  err = try_reading (&user, image);
  if (err != 0)
    h2k_set_errno (error, H2K_ERROR_OUTPUT, err,
                   "%s, as whom libvirt runs QEMU, cannot get at %s: its folders are closed to "
                   "others; choose another --state-dir",
                   user.name, image);
  return err == 0;
}

gboolean
h2k_virt_hand_over_media (virConnectPtr connection, H2kDomain *machine, GError **error)
{
  g_autofree char *label = h2k_virt_owner (connection);
  g_auto (User) user = {0};

  if (!label)
    return TRUE;
  find_user (label, &user);
  for (guint i = machine->cdroms->len; i-- > 0;)
    if (try_reading (&user, machine->cdroms->pdata[i]) != 0)
      {
        g_autofree char *shown = h2k_escape_text (machine->cdroms->pdata[i], -1);
        g_message ("the VM has no CD-ROM with drivers, since %s cannot be read by %s, as whom "
                   "libvirt runs QEMU",
                   shown, user.name);
        g_ptr_array_remove_index (machine->cdroms, i);
      }
  for (guint i = 0; i < machine->disks->len; i++)
    {
      const H2kDomainDisk *disk = machine->disks->pdata[i];

      if (g_strcmp0 (disk->format, "raw") == 0
          && !set_owner (disk->path, user.uid, user.gid, 0600, error))
        return FALSE;
    }
  return TRUE;
}
