/* test-identity.c - what a guest's new identity is: trees of several distributions before and
 * after, on real filesystems.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "../guest/disks.h"
#include "repair/repairs.h"

#include <glib/gstdio.h>
#include <sys/stat.h>

#define OLD_ID "0123456789abcdef0123456789abcdef"
#define UUID_4 "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
#define NEW_ID "^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}\n$"

typedef struct
{
  const char *path;
  const char
      *text; /* before: the content ("->..." a link), after: a regular expression, NULL: gone */
} File;

typedef struct
{
  const char *path, *type, *bits, *format;
} Key;

typedef struct
{
  const char *name;
  const char *hostname;
  gboolean made, new_ids;
  File before[16];
  Key keys[6];
  File after[16];
  const char *warnings[8]; /* regular expressions, in order */
} Case;

#define DEBIAN "ID=debian\nVERSION_ID=12\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"
#define RHEL "ID=rhel\nID_LIKE=fedora\nVERSION_ID=9.4\nPRETTY_NAME=\"Red Hat Enterprise Linux 9\"\n"

static const Case cases[] = {
    {.name = "debian",
     .hostname = "new",
     .made = TRUE,
     .new_ids = TRUE,
     .before = {{"etc/os-release", DEBIAN},
                {"etc/machine-id", OLD_ID "\n"},
                {"var/lib/dbus/machine-id", "->/etc/machine-id"},
                {"etc/hostname", "old\n"},
                {"etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\told.example.com old\n"},
                {"etc/mailname", "old.example.com\n"},
                {"var/lib/systemd/random-seed", "a secret seed"},
                {"var/lib/systemd/credential.secret", "a secret"},
                {"var/lib/dhcp/dhclient.ens192.leases", "lease {}\n"},
                {"var/lib/dhcp/dhcpd.leases", "# a server's\n"},
                {"etc/iscsi/initiatorname.iscsi",
                 "# kept\nInitiatorName=iqn.1993-08.org.debian:01:abcdef123456\n"},
                {"etc/nvme/hostnqn",
                 "nqn.2014-08.org.nvmexpress:uuid:11111111-1111-4111-8111-111111111111\n"},
                {"etc/nvme/hostid", "11111111-1111-4111-8111-111111111111\n"}},
     .keys = {{"etc/ssh/ssh_host_rsa_key", "rsa", "2048", NULL},
              {"etc/ssh/ssh_host_ecdsa_key", "ecdsa", "256", NULL},
              {"etc/ssh/ssh_host_ed25519_key", "ed25519", "256", NULL}},
     .after = {{"/etc/machine-id", NEW_ID},
               {"/var/lib/dbus/machine-id", NEW_ID},
               {"/etc/hostname", "^new\n$"},
               {"/etc/hosts", "^127.0.0.1\tlocalhost\n127.0.1.1\tnew.example.com new\n$"},
               {"/etc/mailname", "^old.example.com\n$"},
               {"/var/lib/systemd/random-seed", NULL},
               {"/var/lib/systemd/credential.secret", "^a secret$"},
               {"/var/lib/dhcp/dhclient.ens192.leases", NULL},
               {"/var/lib/dhcp/dhcpd.leases", "server"},
               {"/etc/iscsi/initiatorname.iscsi",
                "^# kept\nInitiatorName=iqn.1993-08.org.debian:01:(?!abcdef123456)[0-9a-f]{12}\n$"},
               {"/etc/nvme/hostnqn", "^nqn.2014-08.org.nvmexpress:uuid:" UUID_4 "\n$"},
               {"/etc/nvme/hostid", "^" UUID_4 "\n$"}},
     .warnings = {"iSCSI", "\"old\" is still in /etc/mailname"}},
    {.name = "rhel-9",
     .hostname = "new",
     .made = TRUE,
     .new_ids = TRUE,
     .before = {{"etc/os-release", RHEL},
                {"etc/machine-id", OLD_ID "\n"},
                {"boot/loader/entries/" OLD_ID "-5.14.0.conf", "title RHEL\n"},
                {"etc/hostname", "old.corp.example\n"},
                {"etc/hosts", "127.0.0.1 localhost\n192.0.2.9 old.corp.example old\n"},
                {"var/lib/NetworkManager/secret_key", "nm-v2:secret"},
                {"var/lib/NetworkManager/internal-1-ens192.lease", "ADDRESS=192.0.2.9\n"},
                {"etc/krb5.keytab", "keys"}},
     .keys = {{"etc/ssh/ssh_host_rsa_key", "rsa", "2048", NULL},
              {"etc/ssh/ssh_host_ecdsa_key", "ecdsa", "384", NULL}},
     .after = {{"/etc/machine-id", NEW_ID},
               {"/etc/hostname", "^new.corp.example\n$"},
               {"/etc/hosts", "^127.0.0.1 localhost\n192.0.2.9 new.corp.example new\n$"},
               {"/var/lib/NetworkManager/secret_key", NULL},
               {"/var/lib/NetworkManager/internal-1-ens192.lease", NULL},
               {"/etc/krb5.keytab", "^keys$"}},
     .warnings = {"/boot/loader/entries/" OLD_ID, "krb5.keytab.*join the domain"}},
    {.name = "rhel-6",
     .hostname = "new.example.org",
     .new_ids = TRUE,
     .before = {{"etc/os-release", "ID=rhel\nVERSION_ID=6\nPRETTY_NAME=\"RHEL 6\"\n"},
                {"etc/sysconfig/network", "NETWORKING=yes\nHOSTNAME=\"old.example.com\"\n"},
                {"etc/hosts", "127.0.0.1 localhost\n192.0.2.9 old.example.com old\n"},
                {"etc/ssh/ssh_host_key", "SSH PRIVATE KEY FILE FORMAT 1.1\n and more"},
                {"etc/ssh/ssh_host_key.pub", "1024 65537 1234 old\n"},
                {"var/lib/random-seed", "seed"}},
     .keys = {{"etc/ssh/ssh_host_rsa_key", "rsa", "2048", "PEM"}},
     .after = {{"/etc/sysconfig/network", "^NETWORKING=yes\nHOSTNAME=\"new.example.org\"\n$"},
               {"/etc/hosts", "\n192.0.2.9 new.example.org new\n$"},
               {"/etc/hostname", NULL},
               {"/etc/ssh/ssh_host_key", NULL},
               {"/etc/ssh/ssh_host_key.pub", NULL},
               {"/etc/ssh/ssh_host_rsa_key", "^-----BEGIN RSA PRIVATE KEY-----"},
               {"/var/lib/random-seed", NULL},
               {"/etc/machine-id", NULL}}},
    {.name = "ubuntu-of-a-cloud",
     .hostname = "new",
     .new_ids = TRUE,
     .before = {{"etc/os-release", "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=24.04\n"},
                {"etc/machine-id", OLD_ID "\n"},
                {"var/lib/dbus/machine-id", OLD_ID "\n"},
                {"etc/hostname", "old\n"},
                {"etc/hosts", "127.0.0.1 localhost\n"},
                {"etc/cloud/cloud.cfg", "preserve_hostname: false\n"},
                {"var/lib/cloud/data/instance-id", "i-0123456789\n"},
                {"etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n"},
                {"srv/keys/empty", ""},
                {"etc/ssh/sshd_config.d/keys.conf",
                 "hostkey /srv/keys/own\nHostKey relative\nHostKey=/srv/keys/empty\n"}},
     .keys = {{"srv/keys/own", "ed25519", "256", NULL},
              {"etc/ssh/ssh_host_dsa_key", "dsa", "1024", NULL}},
     .after = {{"/etc/machine-id", NEW_ID},
               {"/var/lib/dbus/machine-id", NEW_ID},
               {"/etc/hostname", "^new\n$"},
               {"/etc/hosts", "^127.0.0.1 localhost\n127.0.1.1\tnew\n$"},
               {"/etc/cloud/cloud.cfg.d/99-hyper2kvm-hostname.cfg",
                "^preserve_hostname: true\nhostname: new\n$"},
               {"/var/lib/cloud/data/instance-id", "^i-0123456789\n$"}},
     .warnings = {"/srv/keys/empty is encrypted or no key"}},
    {.name = "suse",
     .hostname = "new",
     .made = TRUE,
     .new_ids = TRUE,
     .before = {{"etc/os-release", "ID=sles\nID_LIKE=suse\nVERSION_ID=15.5\n"},
                {"etc/machine-id", OLD_ID "\n"},
                {"etc/hostname", "old\n"},
                {"etc/HOSTNAME", "->hostname"},
                {"var/lib/wicked/duid.xml", "<duid/>\n"},
                {"var/lib/wicked/lease-eth0-dhcp-ipv4.xml", "<lease/>\n"}},
     .after = {{"/etc/hostname", "^new\n$"},
               {"/etc/HOSTNAME", "^new\n$"},
               {"/var/lib/wicked/duid.xml", NULL},
               {"/var/lib/wicked/lease-eth0-dhcp-ipv4.xml", NULL}}},
    {.name = "proxmox-ve-keeps-its-name",
     .hostname = "new",
     .new_ids = TRUE,
     .before = {{"etc/os-release", DEBIAN},
                {"var/lib/dpkg/status", "Package: pve-manager\nStatus: install ok installed\n"
                                        "Version: 8.2.4\n\n"},
                {"etc/machine-id", OLD_ID "\n"},
                {"etc/hostname", "pve\n"},
                {"etc/hosts", "192.0.2.9 pve.example.com pve\n"},
                {"etc/corosync/corosync.conf", "totem {}\n"}},
     .keys = {{"etc/ssh/ssh_host_ed25519_key", "ed25519", "256", NULL}},
     .after = {{"/etc/machine-id", NEW_ID},
               {"/etc/hostname", "^pve\n$"},
               {"/etc/hosts", "^192.0.2.9 pve.example.com pve\n$"}},
     .warnings = {"Proxmox VE keeps its name, pve: .*/etc/pve/nodes/pve", "corosync.conf"}},
    {.name = "a-name-alone",
     .hostname = "new",
     .before = {{"etc/os-release", DEBIAN},
                {"etc/machine-id", OLD_ID "\n"},
                {"etc/hostname", "# a comment\nold\n"},
                {"var/lib/systemd/random-seed", "seed"}},
     .after = {{"/etc/machine-id", "^" OLD_ID "\n$"},
               {"/etc/hostname", "^# a comment\nnew\n$"},
               {"/var/lib/systemd/random-seed", "^seed$"}}},
    {.name = "ids-alone",
     .new_ids = TRUE,
     .before
     = {{"etc/os-release", DEBIAN}, {"etc/machine-id", OLD_ID "\n"}, {"etc/hostname", "old\n"}},
     .after = {{"/etc/machine-id", NEW_ID}, {"/etc/hostname", "^old\n$"}}},
    {.name = "an-id-that-is-made-at-boot-stays-so",
     .new_ids = TRUE,
     .before = {{"etc/os-release", DEBIAN},
                {"etc/machine-id", "uninitialized\n"},
                {"var/lib/dbus/machine-id", ""}},
     .after = {{"/etc/machine-id", "^uninitialized\n$"}, {"/var/lib/dbus/machine-id", "^$"}}},
    /* Links lead to other files of the guest, which are none of what the repair is about. */
    {.name = "hostile",
     .hostname = "new",
     .new_ids = TRUE,
     .before = {{"etc/os-release", DEBIAN},
                {"etc/shadow", "root:secret:1::::::\n"},
                {"etc/ssh/ssh_host_rsa_key", "->../../../../etc/shadow"},
                {"etc/ssh/ssh_host_ed25519_key", "->ssh_host_ed25519_key"},
                {"etc/ssh/ssh_host_dsa_key", "->/proc/kcore"},
                {"etc/machine-id", "->/etc/shadow"},
                {"etc/hostname", "\x1b[2Jold\n"},
                {"etc/hosts", "127.0.1.1 old\n"},
                {"var/lib/systemd/random-seed", "->/etc/shadow"}},
     .after = {{"/etc/shadow", "^root:secret:1::::::\n$"},
               {"/etc/hostname", "^new\n$"},
               {"/etc/hosts", "127.0.1.1 old\n127.0.1.1\tnew\n"},
               {"/var/lib/systemd/random-seed", NULL}},
     .warnings = {"/etc/shadow is encrypted or no key"}},
};

/* --- trees ------------------------------------------------------------------------------------ */

static char *
run_tool (const char *const *argv)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *output = NULL;
  g_autoptr (GSubprocess) process
      = g_subprocess_newv (argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_MERGE,
                           &error);

  g_assert_no_error (error);
  g_subprocess_communicate_utf8 (process, NULL, NULL, &output, NULL, &error);
  g_assert_no_error (error);
  if (g_subprocess_get_successful (process))
    return g_steal_pointer (&output);
  g_test_message ("%s: %s", argv[0], output);
  return NULL;
}

static char *
place (const char *dir, const char *path)
{
  char *whole = g_build_filename (dir, "before", path, NULL);
  g_autofree char *parent = g_path_get_dirname (whole);

  g_assert_cmpint (g_mkdir_with_parents (parent, 0755), ==, 0);
  return whole;
}

static void
make_tree (const Case *c, const char *dir)
{
  for (guint i = 0; i < G_N_ELEMENTS (c->before) && c->before[i].path; i++)
    {
      g_autofree char *path = place (dir, c->before[i].path);
      const char *text = c->before[i].text;

      if (g_str_has_prefix (text, "->"))
        g_assert_cmpint (symlink (text + 2, path), ==, 0);
      else
        g_assert_true (g_file_set_contents (path, text, -1, NULL));
    }
  for (guint i = 0; i < G_N_ELEMENTS (c->keys) && c->keys[i].path; i++)
    {
      const Key *key = &c->keys[i];
      g_autofree char *path = place (dir, key->path);
      const char *argv[] = {"ssh-keygen",
                            "-q",
                            "-t",
                            key->type,
                            "-b",
                            key->bits,
                            "-N",
                            "",
                            "-C",
                            "root@old",
                            "-f",
                            path,
                            key->format ? "-m" : NULL,
                            key->format,
                            NULL};
      g_autofree char *output = run_tool (argv);

      g_assert_nonnull (output);
      g_assert_cmpint (g_chmod (path, 0640), ==, 0);
    }
}

static char *
read_text (H2kTree *tree, const char *path)
{
  g_autoptr (GBytes) data = h2k_tree_read_optional (tree, path, 0, NULL);

  if (!data)
    return NULL;
  return g_bytes_get_size (data)
             ? g_strndup (g_bytes_get_data (data, NULL), g_bytes_get_size (data))
             : g_strdup ("");
}

/* --- claims ----------------------------------------------------------------------------------- */

static void
claim_files (const Case *c, H2kTree *tree)
{
  for (guint i = 0; i < G_N_ELEMENTS (c->after) && c->after[i].path; i++)
    {
      g_autofree char *text = read_text (tree, c->after[i].path);

      if (!c->after[i].text)
        {
          if (h2k_tree_exists (tree, c->after[i].path))
            g_test_fail_printf ("%s is still there", c->after[i].path);
        }
      else if (!text || !g_regex_match_simple (c->after[i].text, text, 0, 0))
        g_test_fail_printf ("%s is: %s", c->after[i].path, text ? text : "(missing)");
    }
}

static void
claim_warnings (const Case *c, const H2kRepairContext *context)
{
  guint n = 0;

  while (n < G_N_ELEMENTS (c->warnings) && c->warnings[n])
    n++;
  for (guint i = 0; i < context->warnings->len; i++)
    if (i >= n || !g_regex_match_simple (c->warnings[i], context->warnings->pdata[i], 0, 0))
      g_test_fail_printf ("unexpected warning: %s", (char *)context->warnings->pdata[i]);
  if (context->warnings->len < n)
    g_test_fail_printf ("%u warnings, %u expected", context->warnings->len, n);
}

/* Nothing that is secret is in what reports are made of. */
static void
claim_no_secrets (const H2kRepairContext *context)
{
  for (guint i = 0; i < context->changes->len; i++)
    {
      const H2kChange *change = context->changes->pdata[i];
      GBytes *const kept[] = {change->before, change->after};

      for (guint k = 0; k < G_N_ELEMENTS (kept); k++)
        {
          g_autofree char *text
              = kept[k] ? g_strndup (g_bytes_get_data (kept[k], NULL), g_bytes_get_size (kept[k]))
                        : NULL;
          if (text && (strstr (text, "PRIVATE KEY") || strstr (text, "secret")))
            g_test_fail_printf ("the report shows %s", change->path);
        }
      if (g_str_has_suffix (change->path, "_key") && strstr (change->path, "ssh_host"))
        g_assert_true (
            change->summary
            && (strstr (change->summary, "SHA256:") || strstr (change->summary, "secret")));
    }
}

static char *export(const char *dir, H2kTree *tree, const char *path)
{
  g_autofree char *name = g_path_get_basename (path);
  char *file = g_build_filename (dir, name, NULL);
  g_autofree char *text = read_text (tree, path);

  g_assert_nonnull (text);
  g_assert_true (g_file_set_contents_full (file, text, -1, 0, 0600, NULL));
  return file;
}

/* sshd itself takes all keys; it wants a folder in /run, which is made in a namespace. */
static void
claim_sshd (const char *dir, const GString *config)
{
  static const char script[] = "mount -t tmpfs none /run && mkdir -m 755 /run/sshd && "
                               "{ echo inside; exec \"$0\" -t -f \"$1\"; }";
  g_autofree char *sshd = g_find_program_in_path ("sshd");
  g_autofree char *path = g_build_filename (dir, "sshd_config", NULL);
  const char *argv[]
      = {"unshare", "-rm", "sh", "-c", script, sshd ? sshd : "/usr/sbin/sshd", path, NULL};
  g_autofree char *output = NULL;

  g_assert_true (g_file_set_contents (path, config->str, -1, NULL));
  if (!g_file_test (argv[5], G_FILE_TEST_IS_EXECUTABLE))
    {
      g_test_message ("sshd is not installed");
      return;
    }
  output = run_tool (argv);
  if (!output)
    {
      const char *can[] = {"unshare", "-rm", "mount", "-t", "tmpfs", "none", "/run", NULL};
      g_autofree char *able = run_tool (can);
      if (able)
        g_test_fail_printf ("sshd does not take the keys");
      return;
    }
  g_assert_cmpstr (output, ==, "inside\n");
}

/* New pairs of the same kind and size, with the mode that the files had. */
static void
claim_keys (const Case *c, const char *dir, H2kTree *tree)
{
  g_autoptr (GString) config = g_string_new (NULL);

  for (guint i = 0; i < G_N_ELEMENTS (c->keys) && c->keys[i].path; i++)
    {
      const Key *key = &c->keys[i];
      g_autofree char *path = g_strconcat ("/", key->path, NULL);
      g_autofree char *public_path = g_strconcat (path, ".pub", NULL);
      g_autofree char *before = place (dir, key->path);
      g_autofree char *file = export(dir, tree, path);
      g_autofree char *public = read_text (tree, public_path);
      const char *derive[] = {"ssh-keygen", "-y", "-f", file, NULL};
      const char *list_old[] = {"ssh-keygen", "-l", "-f", before, NULL};
      const char *list_new[] = {"ssh-keygen", "-l", "-f", file, NULL};
      g_autofree char *derived = run_tool (derive), *old = run_tool (list_old),
                      *new = run_tool (list_new);
      const char *comment
          = c->hostname && !g_str_equal (c->name, "proxmox-ve-keeps-its-name") ? "new" : "old";
      g_autofree char *ending = g_strconcat (" root@", comment, NULL);
      H2kStat st;

      g_assert_nonnull (derived);
      g_assert_cmpint (strncmp (derived, public, strcspn (public + 12, " ") + 12), ==, 0);
      g_assert_nonnull (strstr (public, ending));
      g_assert_cmpstr (old, !=, new);
      g_assert_cmpint (strncmp (old, new, strcspn (old, " ")), ==, 0);
      g_assert_true (h2k_tree_stat (tree, path, &st, NULL));
      g_assert_cmpuint (st.mode & 07777, ==, 0640);
      if (strcmp (key->type, "dsa") != 0)
        g_string_append_printf (config, "HostKey %s\n", file);
    }
  if (config->len)
    claim_sshd (dir, config);
}

/* --- a case ----------------------------------------------------------------------------------- */

static void
run_once (const Case *c, const char *dir, const TestDisks *disks, gboolean again)
{
  const H2kRepairOptions options
      = {.hostname = c->hostname, .hostname_made = c->made, .new_ids = c->new_ids};
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kGuest) guest = h2k_guest_open (test_disks_get (disks), NULL, &error);
  g_autoptr (H2kRepairContext) context = NULL;

  g_assert_no_error (error);
  context = h2k_repair_context_new (guest, &options);
  g_assert_true (h2k_repair_run (context, H2K_REPAIR_IDENTITY, &error));
  g_assert_no_error (error);
  claim_files (c, guest->tree);
  claim_no_secrets (context);
  if (!again)
    claim_warnings (c, context);
  if (!again)
    claim_keys (c, dir, guest->tree);
  /* Ids are new ones each time, names stay. */
  for (guint i = 0; again && !c->new_ids && i < context->changes->len; i++)
    g_test_fail_printf ("a second run changes %s", ((H2kChange *)context->changes->pdata[i])->path);
}

static void
test_case (gconstpointer data)
{
  const Case *c = data;
  g_autofree char *dir = g_dir_make_tmp (NULL, NULL);
  g_autoptr (TestDisks) disks = NULL;

  make_tree (c, dir);
  disks = test_disks_new (dir);
  run_once (c, dir, disks, FALSE);
  run_once (c, dir, disks, TRUE);
  test_disks_claim_clean (disks);
}

/* Nobody gets it unasked. */
static void
test_not_by_itself (void)
{
  g_assert_cmpuint (H2K_REPAIR_AUTO & H2K_REPAIR_IDENTITY, ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/identity/is-not-changed-unasked", test_not_by_itself);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *name = g_strconcat ("/identity/", cases[i].name, NULL);
      g_test_add_data_func (name, &cases[i], test_case);
    }
  return g_test_run ();
}
