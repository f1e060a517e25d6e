@echo off
rem 900-cleanup.cmd - values of the registry that were changed for the first boot alone are restored.
rem
rem SPDX-License-Identifier: GPL-2.0-or-later
if not exist "%H2K_DATA%\restore.reg" exit 0
"%SystemRoot%\System32\reg.exe" import "%H2K_DATA%\restore.reg"
exit %errorlevel%
