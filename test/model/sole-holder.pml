/* Lifecycle containment of 'what only they hold' against a new grant by another identity.
 default (as written): reads holders, then contains. FIX: containment first marks the credential in the CRED item (conditional on holders==1); a grant of a marked credential is refused; restore clears the mark.
   Code: functions/store/levers.ts (joinLever, claimLever): what is marked is the lever, by its number of identities.
   Runs:
     holds -DFIX
     breaks
*/
byte holders=1; bit mark; bit contained; bit acked2; bit refused;
proctype Contain() { byte h;
#ifdef FIX
 atomic { h=holders; if :: holders==1 -> mark=1; printf("marked\n") :: else fi };
#else
 atomic { h=holders; printf("contain: holders %d\n",h) };
#endif
 if :: h==1 -> contained=1; printf("contained\n") :: else fi }
proctype Reg() { atomic { if :: !mark -> holders++; printf("grant 2\n") :: else -> refused=1; goto fin fi }; acked2=1; printf("ack 2\n"); fin: skip }
init { atomic { run Contain(); run Reg() } timeout; assert(!(acked2 && contained)) }
